"""What a recipe's training will need: operations, memory, disk, time and money, before it runs."""
