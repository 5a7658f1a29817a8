"""Export: a trained timm model as a folder that timm loads, with its model card."""
