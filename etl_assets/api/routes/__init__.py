"""The routes, one module a subject. What an answer is made of lies elsewhere; here is how it is asked for."""
