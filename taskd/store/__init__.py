"""The tables, and the statements that read and write them. Synchronous; dialects differ in `database` alone."""
