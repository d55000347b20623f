"""What a task asked models, tools and others, kept so that it is never asked, and paid for, twice."""
