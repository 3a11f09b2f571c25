"""Results as rows, tables, pages and pictures."""
