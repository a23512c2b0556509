"""Networks from and to files of every kind."""
