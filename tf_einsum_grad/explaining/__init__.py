"""Any equation's gradients, plan, cost and sharding, as text, HTML and pictures. Pure."""
