"""Which weight matters: the registry of saliencies, second-order scores, and what is gathered for them."""
