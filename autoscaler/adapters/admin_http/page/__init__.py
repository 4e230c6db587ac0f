"""The status page as HTML: templates, the files beside them, and what the templates show.

html      the template engine and its filters; imported when a page is first requested
contents  what the pages show, made of the views of the API
"""
