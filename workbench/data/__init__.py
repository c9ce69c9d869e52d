"""Labelled images: where they come from, the decode-once store, the split, and the tf.data pipeline."""
