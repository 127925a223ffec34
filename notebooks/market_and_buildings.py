# ruff: noqa: ANN001, ANN002, ANN003, ANN201, ANN202, B018, D103, INP001
# Cells are marimo's: functions without annotations, whose last expression is what the reader sees.
"""Five questions about the market and the buildings, answered from ``warehouse.duckdb``: a marimo notebook.

Read it in the browser by ``make notebook``, change it by ``marimo edit notebooks/market_and_buildings.py``, or let it
run without one by ``marimo export html``. It reads the folder that ``ETL_DATA`` names, and writes nothing.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Market and buildings", html_head_file="head.html")

with app.setup:
    import duckdb
    import marimo as mo
    import plotly.graph_objects as go

    from etl_assets.lake.sql import literal
    from etl_assets.settings import settings

    # Okabe and Ito's colours, which colour-blind people tell apart.
    BLUE, ORANGE, GREEN, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#56B4E9", "#7F7F7F"

    HEIGHT = 330

    # As a share of the limit: dispatch leaves hundredths of a megawatt.
    AT_LIMIT = 0.99

    # A sum without one of the site's power points would be no load: such intervals are left out.
    SITE_LOAD = """
        CREATE TEMP MACRO site_load(wanted, width, first_day, last_day) AS TABLE
        WITH power_point AS (
            SELECT site_name, region_id, time_zone, unnest(from_json(power_points, '["VARCHAR"]')) AS point_name
            FROM ace.sites
            WHERE site_name = wanted
        )
        SELECT "timestamp", region_id, "timestamp" AT TIME ZONE time_zone AS local_time, sum(avg_value) AS kw
        FROM ace.timeseries_agg
        JOIN power_point USING (site_name, point_name)
        WHERE site_name = wanted AND "interval" = width AND market_day BETWEEN first_day AND last_day
        GROUP BY "timestamp", region_id, time_zone
        HAVING count(*) = (SELECT count(*) FROM power_point)
    """


@app.function
def ask(warehouse, sql, **values):
    """The columns of a query's result, each a list, by name."""
    found = warehouse.execute(sql, values)
    names = [column[0] for column in found.description]
    rows = found.fetchall()
    return {name: [row[n] for row in rows] for n, name in enumerate(names)}


@app.function
def ask_one(warehouse, sql, **values):
    """The only row of a query's result, by column."""
    return {name: column[0] for name, column in ask(warehouse, sql, **values).items()}


@app.function
def opened(path):
    """A connection that shows the newest snapshot and can write nothing.

    The file is attached to a database of its own: a second connect to its path would go on with the former snapshot.
    """
    warehouse = duckdb.connect()
    for statement in ("SET TimeZone = 'UTC'", f"ATTACH {literal(path)} AS warehouse (READ_ONLY)", "USE warehouse"):
        warehouse.execute(statement)
    warehouse.execute(SITE_LOAD)
    return warehouse


@app.function
def plot(*traces, **layout):
    """A figure in the notebook's manner."""
    quiet = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font": {"color": GREY, "size": 13}}
    figure = go.Figure(data=traces, layout={"height": HEIGHT, "margin": {"l": 10, "r": 10, "t": 40, "b": 10}, **quiet})
    lines = {"gridcolor": "rgba(127,127,127,0.25)", "zeroline": False, "automargin": True}
    figure.update_xaxes(lines).update_yaxes(lines)
    return figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, **layout)


@app.function
def nothing(what):
    """What a question shows where there is no data for it."""
    return mo.callout(mo.md(what), kind="neutral")


@app.cell
def title():
    mo.md("""
    # Market and buildings

    Five questions, answered from the published data. Choose a region, a building and the days; all below follows.
    Drag in a plot to zoom, double-click to see all of it.
    """)


@app.cell
def located():
    path = settings().warehouse_path
    _missing = (
        f"There is no {path} yet. `make demo` makes one with two simulated days; `make up` collects the live market. "
        "Another folder: set ETL_DATA."
    )
    # A script has nobody who sees a cell's output.
    if not path.exists() and mo.app_meta().mode == "script":
        raise FileNotFoundError(_missing)
    mo.stop(not path.exists(), mo.callout(mo.md(_missing), kind="warn"))
    return (path,)


@app.cell
def choices(path):
    # Over a connection of their own, so that reading a newer snapshot does not put them back.
    with opened(path) as _snapshot:
        _regions = ask(_snapshot, "SELECT DISTINCT region_id FROM aemo.price ORDER BY region_id")["region_id"]
        _sites = ask(_snapshot, "SELECT site_name FROM ace.sites ORDER BY site_name")["site_name"]
    _spans = {"last day": 1, "last 7 days": 7, "last 31 days": 31, "all days": None}
    region = mo.ui.dropdown(_regions, value=_regions[0] if _regions else None, label="Region")
    site = mo.ui.dropdown(_sites, value=_sites[0] if _sites else None, label="Building")
    span = mo.ui.dropdown(_spans, value="last 7 days", label="Days")
    newest = mo.ui.run_button(label="Read the newest snapshot")
    mo.hstack([region, site, span, newest], justify="start", gap=2, wrap=True)
    return newest, region, site, span


@app.cell
def snapshot(newest, path):
    newest.value
    warehouse = opened(path)
    return (warehouse,)


@app.cell
def chosen_days(span, warehouse):
    _known = ask_one(
        warehouse,
        """
        SELECT min(market_day) AS first, max(market_day) AS last
        FROM (SELECT market_day FROM aemo.price UNION ALL SELECT market_day FROM ace.timeseries_agg)
        """,
    )
    days = ask_one(
        warehouse,
        "SELECT greatest($first::DATE, coalesce($last::DATE - ($span::INT - 1), $first::DATE)) AS first, $last AS last",
        span=span.value,
        **_known,
    )
    return (days,)


@app.cell
def trust(days, region, site, warehouse):
    trust_facts = ask_one(
        warehouse,
        """
        SELECT
            (SELECT published_at FROM ops.publication) AS published_at,
            (
                SELECT count(*) / (1 + (epoch(max(interval_end)) - epoch(min(interval_end))) / 300)
                FROM aemo.price
                WHERE region_id = $region AND market_day BETWEEN $first AND $last
            ) AS share_of_intervals,
            (
                SELECT avg(quality_score)
                FROM quality.data_quality
                WHERE site_name = $site AND date BETWEEN $first AND $last
            ) AS mean_score,
            (SELECT count(*) FROM quality.gaps WHERE healed_at IS NULL) AS open_gaps
        """,
        region=region.value,
        site=site.value,
        **days,
    )

    def _percent(share):
        return "no data" if share is None else f"{100 * share:.2f} %"

    mo.hstack(
        [
            mo.stat(f"{trust_facts['published_at']:%d %b, %H:%M} UTC", label="published"),
            mo.stat(_percent(trust_facts["share_of_intervals"]), label=f"intervals there, {region.value or 'market'}"),
            mo.stat(_percent(trust_facts["mean_score"]), label=f"readings there, {site.value or 'buildings'}"),
            mo.stat(f"{trust_facts['open_gaps']:,}", label="gaps open, all data"),
        ],
        widths="equal",
        gap=1,
        wrap=True,
    )
    return (trust_facts,)


@app.cell
def _():
    mo.md("""
    ## 1. What did electricity cost, and when?
    """)


@app.cell
def prices(days, region, warehouse):
    _wanted = "FROM aemo.price WHERE region_id = $region AND market_day BETWEEN $first AND $last"
    _chosen = {"region": region.value, **days}
    price_curve = ask(warehouse, f"SELECT settlement_date, rrp {_wanted} ORDER BY settlement_date", **_chosen)
    price_facts = ask_one(
        warehouse,
        f"""
        SELECT
            count(*) AS intervals,
            avg(rrp) AS mean,
            sum(rrp * total_demand) / sum(total_demand) AS volume_weighted,
            max(rrp) AS highest,
            arg_max(settlement_date, rrp) AS highest_at,
            count(*) FILTER (rrp < 0) * 5 / 60 AS negative_hours,
            quantile_cont(rrp, 0.005) AS low_end,
            quantile_cont(rrp, 0.995) AS high_end
        {_wanted}
        """,
        **_chosen,
    )
    return price_curve, price_facts


@app.cell
def prices_shown(price_curve, price_facts, region):
    def _shown():
        if not price_facts["intervals"]:
            return nothing("No prices of these days.")
        # Spikes of thousands would flatten all else: the axis shows 99 % of the time until it is zoomed out.
        room = 0.15 * (price_facts["high_end"] - price_facts["low_end"] + 1)
        axis = {"title": "AUD/MWh", "range": [price_facts["low_end"] - room, price_facts["high_end"] + room]}
        over_time = go.Scatter(
            x=price_curve["settlement_date"], y=price_curve["rrp"], line={"color": BLUE, "width": 1.3}
        )
        ordered = sorted(price_curve["rrp"], reverse=True)
        shares = [100 * (n + 1) / len(ordered) for n in range(len(ordered))]
        duration = go.Scatter(x=shares, y=ordered, line={"color": ORANGE}, fill="tozeroy")
        return mo.vstack(
            [
                mo.md(
                    f"In {region.value} a megawatt-hour cost **{price_facts['mean']:,.2f} AUD** on average over time, "
                    f"**{price_facts['volume_weighted']:,.2f} AUD** weighted by what was used. The highest price was "
                    f"{price_facts['highest']:,.2f} AUD, to {price_facts['highest_at']:%d %b %H:%M} NEM time; for "
                    f"{price_facts['negative_hours']:,.1f} hours it was negative."
                ),
                mo.hstack(
                    [
                        plot(over_time, yaxis=axis, title="Price, NEM time"),
                        plot(duration, yaxis=axis, xaxis={"title": "% of the time"}, title="At least so high"),
                    ],
                    widths=[2, 1],
                ),
            ]
        )

    _shown()


@app.cell
def _():
    mo.md("""
    ## 2. How often do the links between regions bind?
    """)


@app.cell
def links(days, warehouse):
    # What flowed is in the physical run, where an intervention made one.
    link_facts = ask(
        warehouse,
        """
        WITH physical AS (
            SELECT interconnector_id, mw_flow, export_limit, import_limit
            FROM aemo.dispatch_interconnector
            WHERE market_day BETWEEN $first AND $last
            QUALIFY row_number() OVER (PARTITION BY interconnector_id, interval_end ORDER BY intervention DESC) = 1
        )
        SELECT
            interconnector_id,
            avg((mw_flow > 0 AND mw_flow >= $at_limit * export_limit)::INT) AS forward,
            avg((mw_flow < 0 AND mw_flow <= $at_limit * import_limit)::INT) AS backward,
            avg(mw_flow) AS mean_flow_mw
        FROM physical
        GROUP BY interconnector_id
        ORDER BY forward + backward, interconnector_id
        """,
        at_limit=AT_LIMIT,
        **days,
    )
    return (link_facts,)


@app.cell
def links_shown(link_facts):
    def _bars(direction, name, color):
        percent = [100 * share for share in link_facts[direction]]
        return go.Bar(x=percent, y=link_facts["interconnector_id"], name=name, orientation="h", marker={"color": color})

    def _shown():
        if not link_facts["interconnector_id"]:
            return nothing("No flows of these days.")
        most = 100 * (link_facts["forward"][-1] + link_facts["backward"][-1])
        return mo.vstack(
            [
                mo.md(
                    f"**{link_facts['interconnector_id'][-1]}** was at its limit for **{most:.1f} %** of the time, "
                    f"with {link_facts['mean_flow_mw'][-1]:,.0f} MW on average (positive in the order of its name). "
                    "While a link is at its limit, the prices at its ends part."
                ),
                plot(
                    _bars("forward", "at its limit, in the order of the name", BLUE),
                    _bars("backward", "at its limit, against it", ORANGE),
                    barmode="stack",
                    xaxis={"title": "% of intervals"},
                ),
            ]
        )

    _shown()


@app.cell
def _():
    mo.md("""
    ## 3. How much of the demand do the roofs carry?
    """)


@app.cell
def roofs(days, region, warehouse):
    roof_curve = ask(
        warehouse,
        """
        WITH demand AS (
            SELECT
                time_bucket(INTERVAL 30 MINUTE, interval_end - INTERVAL 5 MINUTE) + INTERVAL 30 MINUTE AS interval_end,
                avg(total_demand) AS demand_mw
            FROM aemo.price
            WHERE region_id = $region AND market_day BETWEEN $first AND $last
            GROUP BY ALL
        )
        SELECT settlement_date, demand_mw, power AS rooftop_mw
        FROM aemo.rooftop_pv
        JOIN demand USING (interval_end)
        WHERE region_id = $region AND type = 'MEASUREMENT' AND market_day BETWEEN $first AND $last
        ORDER BY settlement_date
        """,
        region=region.value,
        **days,
    )
    _used = [demand + roof for demand, roof in zip(roof_curve["demand_mw"], roof_curve["rooftop_mw"], strict=True)]
    _shares = [roof / used for roof, used in zip(roof_curve["rooftop_mw"], _used, strict=True) if used > 0]
    roof_facts = {
        "highest_share": max(_shares, default=None),
        "share_of_energy": sum(roof_curve["rooftop_mw"]) / sum(_used) if _shares else None,
    }
    return roof_curve, roof_facts


@app.cell
def roofs_shown(region, roof_curve, roof_facts):
    def _area(column, name, color):
        return go.Scatter(
            x=roof_curve["settlement_date"],
            y=roof_curve[column],
            name=name,
            stackgroup="used",
            line={"color": color, "width": 0.8},
        )

    def _shown():
        if roof_facts["highest_share"] is None:
            return nothing("No rooftop estimates of these days, or no demand beside them.")
        return mo.vstack(
            [
                mo.md(
                    f"Roofs gave **{100 * roof_facts['share_of_energy']:.1f} %** of what {region.value} used, and at "
                    f"most **{100 * roof_facts['highest_share']:.0f} %** of it in a half-hour. AEMO's operational "
                    "demand is what the roofs leave."
                ),
                plot(
                    _area("demand_mw", "operational demand", SKY),
                    _area("rooftop_mw", "rooftop solar", ORANGE),
                    yaxis={"title": "MW"},
                ),
            ]
        )

    _shown()


@app.cell
def _():
    mo.md("""
    ## 4. When does the building use power, and what is it worth at spot?
    """)


@app.cell
def building(days, site, warehouse):
    _chosen = {"site": site.value, **days}
    _priced = """
        FROM site_load($site, '5min', $first, $last) AS load
        JOIN aemo.price AS price
          ON price.region_id = load.region_id AND price.interval_end = load."timestamp" + INTERVAL 5 MINUTE
    """
    load_by_hour = ask(
        warehouse,
        f"""
        SELECT
            hour(local_time) AS hour,
            avg(kw) FILTER (isodow(local_time) <= 5) AS weekday_kw,
            avg(kw) FILTER (isodow(local_time) > 5) AS weekend_kw,
            median(rrp) AS median_price
        {_priced}
        GROUP BY hour
        ORDER BY hour
        """,
        **_chosen,
    )
    cost_by_day = ask(
        warehouse,
        f"""
        SELECT price.market_day AS day, sum(kw) * 5 / 60 AS kwh, sum(kw * rrp) * 5 / 60 / 1000 AS cost_aud
        {_priced}
        GROUP BY day
        ORDER BY day
        """,
        **_chosen,
    )
    cost_facts = ask_one(
        warehouse,
        f"""
        SELECT
            sum(kw) * 5 / 60 AS kwh,
            sum(kw * rrp) * 5 / 60 / 1000 AS cost_aud,
            sum(kw * rrp) / sum(kw) AS paid,
            avg(rrp) AS flat,
            max(kw) AS highest_kw
        {_priced}
        """,
        **_chosen,
    )
    return cost_by_day, cost_facts, load_by_hour


@app.cell
def building_shown(cost_by_day, cost_facts, load_by_hour, site):
    def _line(column, name, color, **more):
        return go.Scatter(x=load_by_hour["hour"], y=load_by_hour[column], name=name, line={"color": color}, **more)

    def _shown():
        if not cost_facts["kwh"]:
            return nothing("No load of a building in these days. It needs `power_points` and `region_id` in `SITES`.")
        better = "less" if cost_facts["paid"] < cost_facts["flat"] else "more"
        return mo.vstack(
            [
                mo.md(
                    f"{site.value} used **{cost_facts['kwh']:,.0f} kWh**, worth **{cost_facts['cost_aud']:,.2f} AUD** "
                    f"at spot; its highest load was {cost_facts['highest_kw']:,.0f} kW. Each megawatt-hour cost "
                    f"{cost_facts['paid']:,.2f} AUD, {better} than the {cost_facts['flat']:,.2f} AUD of a flat load."
                ),
                mo.hstack(
                    [
                        plot(
                            _line("weekday_kw", "weekday, kW", BLUE),
                            _line("weekend_kw", "weekend, kW", GREEN),
                            _line("median_price", "median price, AUD/MWh", ORANGE, yaxis="y2"),
                            xaxis={"title": "hour, the building's clock"},
                            yaxis={"title": "kW", "rangemode": "tozero"},
                            yaxis2={"overlaying": "y", "side": "right", "showgrid": False, "title": "AUD/MWh"},
                        ),
                        plot(
                            go.Bar(x=cost_by_day["day"], y=cost_by_day["cost_aud"], marker={"color": ORANGE}),
                            yaxis={"title": "AUD"},
                            title="Cost by market day",
                        ),
                    ],
                    widths=[3, 2],
                ),
            ]
        )

    _shown()


@app.cell
def _():
    mo.md("""
    ## 5. Does the weather drive its load?
    """)


@app.cell
def weather(days, site, warehouse):
    _hours = """
        WITH outside AS (
            SELECT "hour", avg(celsius) AS celsius
            FROM (
                SELECT date_trunc('hour', "timestamp") AS "hour", temperature AS celsius
                FROM ace.weather_raw
                WHERE site_name = $site AND market_day BETWEEN $first AND $last
                UNION ALL
                SELECT "timestamp", avg_value
                FROM ace.timeseries_agg
                WHERE site_name = $site AND point_name = $site || '/weather/temp' AND "interval" = '1h'
                  AND market_day BETWEEN $first AND $last
            )
            GROUP BY "hour"
        ),
        paired AS (
            SELECT celsius, kw, hour(local_time) BETWEEN 8 AND 17 AS is_daytime
            FROM outside
            JOIN site_load($site, '1h', $first, $last) AS load ON load."timestamp" = outside."hour"
            WHERE celsius IS NOT NULL
        )
    """
    _chosen = {"site": site.value, **days}
    load_and_weather = ask(warehouse, f"{_hours} FROM paired", **_chosen)
    weather_facts = ask_one(
        warehouse,
        f"""
        {_hours}
        SELECT
            count(*) AS hours,
            regr_slope(kw, celsius) AS kw_per_degree,
            regr_intercept(kw, celsius) AS kw_at_zero,
            regr_r2(kw, celsius) AS explained,
            min(celsius) AS coldest,
            max(celsius) AS warmest
        FROM paired
        """,
        **_chosen,
    )
    return load_and_weather, weather_facts


@app.cell
def weather_shown(load_and_weather, site, weather_facts):
    def _dots(is_daytime, name, color):
        pairs = [
            (celsius, kw) for celsius, kw, day in zip(*load_and_weather.values(), strict=True) if day is is_daytime
        ]
        return go.Scatter(
            x=[celsius for celsius, _ in pairs],
            y=[kw for _, kw in pairs],
            name=name,
            mode="markers",
            marker={"color": color, "opacity": 0.65},
        )

    def _shown():
        if weather_facts["kw_per_degree"] is None:
            return nothing("No hours with both load and temperature in these days.")
        ends = [weather_facts["coldest"], weather_facts["warmest"]]
        fitted = [weather_facts["kw_at_zero"] + weather_facts["kw_per_degree"] * end for end in ends]
        return mo.vstack(
            [
                mo.md(
                    f"Over {weather_facts['hours']:,} hours, {site.value} used "
                    f"**{weather_facts['kw_per_degree']:,.1f} kW** more for each degree; temperature alone explains "
                    f"**{100 * weather_facts['explained']:.0f} %** of the ups and downs. Where day and night lie "
                    "apart, the clock explains more than the weather."
                ),
                plot(
                    _dots(True, "8 to 18 o'clock", ORANGE),
                    _dots(False, "evening and night", BLUE),
                    go.Scatter(
                        x=ends, y=fitted, name="fitted line", mode="lines", line={"color": GREY, "dash": "dash"}
                    ),
                    xaxis={"title": "°C outside, hourly mean"},
                    yaxis={"title": "kW, hourly mean", "rangemode": "tozero"},
                ),
            ]
        )

    _shown()


if __name__ == "__main__":
    app.run()
