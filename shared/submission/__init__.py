"""What a submission says, what is wrong with it, and the edit that it asks for."""
