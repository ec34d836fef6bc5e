"""What a recipe's training needs before it runs: operations, memory, disk and time."""
