"""What the pages are made of: their frame, tables, charts and photos."""
