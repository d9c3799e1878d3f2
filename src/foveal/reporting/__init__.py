"""Pages for people: report, audit page and model card."""
