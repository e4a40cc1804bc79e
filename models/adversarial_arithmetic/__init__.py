"""Sentences that make a language model answer an arithmetic question wrongly: search, measures, hardening."""
