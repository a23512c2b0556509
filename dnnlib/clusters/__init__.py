"""Several processes that train together: who they are, how they meet, and a watch that ends all when one is gone."""
