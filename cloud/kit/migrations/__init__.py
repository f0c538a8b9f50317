"""The schema's history. Every step is SQL in a `.sql` file beside its revision."""
