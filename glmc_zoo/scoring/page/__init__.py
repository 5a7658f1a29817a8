"""The report of a run or an evaluation: one HTML file without any other resource."""
