"""Toledo continuous output (8142, 8530, IND standard continuous). The scale talks, nobody asks."""
