"""From due to published: decide and record in one transaction, publish from the outbox, mark."""
