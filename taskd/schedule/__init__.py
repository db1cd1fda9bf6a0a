"""What one schedule means: pure values and functions, no I/O, no clock."""
