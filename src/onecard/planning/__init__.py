"""Which settings: choices walked in order of least harm, every decision kept."""
