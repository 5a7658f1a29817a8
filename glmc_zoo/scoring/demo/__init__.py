"""The demo: a page in the browser on which a model classifies images that are uploaded."""
