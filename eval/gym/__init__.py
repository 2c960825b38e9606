"""What models and wrong answers score in the tasks of reasoning-gym."""
