"""The workers of a sweep as actors of a Ray cluster. Needs the extra `ray`; imported where a sweep asks for it."""
