"""ACE IoT: sites, points, time series and weather of buildings, whatever the API does.

Glossary: *point* a signal of a building, named client/site/device/object; *reading* one value of a point at an
instant; *window* a span of time asked for at once; *page* one answer of many that a window takes; *walk* all pages of
a window in order; *cursor* the API's word for where the next page begins.
"""
