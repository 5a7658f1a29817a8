"""Push: an exported folder as one commit on the Hub."""
