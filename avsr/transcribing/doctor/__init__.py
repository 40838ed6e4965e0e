"""What is wrong with a video: measurements (examine), and what they mean (advice)."""
