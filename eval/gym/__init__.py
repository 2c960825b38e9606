"""The scores of models and of wrong answers in the tasks of reasoning-gym."""
