"""How much: tagged meters, and the everyday API of both halves."""
