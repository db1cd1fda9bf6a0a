"""Files against the table: read, plan (a value), apply in one transaction."""
