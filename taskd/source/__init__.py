"""Schedule files: bytes → nodes with places → specs; a root → its files; events and a poll → a wake-up."""
