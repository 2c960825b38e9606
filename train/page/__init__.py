"""What the pages of training and of evaluation share: the frame and its style, and rollouts with their steps marked."""
