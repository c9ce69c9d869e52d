"""The pages, one a file: `add_page` of each adds its address to the application."""
