"""Official lists: which images make the training, validation and test split of a large data set."""
