"""The search for wrong labels: what models that have not seen an image say of it, ranked by confident learning."""
