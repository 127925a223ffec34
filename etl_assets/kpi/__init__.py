"""KPIs: a registry becomes assets, values and workflows.

Each KPI of the registry is an asset by market day. Its value, where it has SQL, comes from the published file; its
workflow, where it has a webhook, is triggered once a day.
"""
