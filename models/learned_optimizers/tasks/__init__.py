"""Small tasks that optimizers are trained and measured on."""
