"""Networks made of others: blends, averages, and networks for other images or labels to be trained further."""
