"""What `doctor` looks at: one module an area; each function yields findings, and raises nothing that it can name."""
