"""Language models behind Beam's RunInference: one that this process holds, or a server's."""
