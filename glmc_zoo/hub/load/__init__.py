"""Load: a trained model from the zoo, a folder, the Hub or timm, and checkpoints of the authors of GLMC."""
