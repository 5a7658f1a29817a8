"""What a run takes of its machine: processes, device, precision, threads, and where its time goes."""
