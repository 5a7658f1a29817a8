"""Reading: what a source holds, as splits of images and classes."""
