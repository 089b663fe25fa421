"""What the README's performance table is made from: ratios measured in one run."""
