"""An agreement as one page that needs no network and no scripts, with the images that are worth a look."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

from portproof._errors import PortproofError
from portproof.agree._images import DataImage, read_bytes
from portproof.agree._print import agreeing, rate
from portproof.agree._result import Agreement
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.ports._inputs import decode_photograph
from portproof.render._page import page_environment
from portproof.render._words import number

_SIDE = 128

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ found.port }}: agreement on {{ found.images }} images</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1917; background: #fff; max-width: 1060px; margin: 1.5rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #e7e5e4; vertical-align: top; }
th { font-weight: 600; } .n { text-align: right; white-space: nowrap; } .muted { color: #57534e; }
.chip { display: inline-block; padding: 0 .5rem; border-radius: .8rem; font-weight: 600; }
.identical, .equivalent { background: #dcfce7; color: #14532d; } .divergent { background: #fee2e2; color: #7f1d1d; }
.inconclusive, .unavailable { background: #fef3c7; color: #713f12; }
.seen { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; list-style: none; }
.seen li { width: 150px; font-size: .85em; overflow-wrap: anywhere; }
.seen img { display: block; width: 128px; height: 128px; object-fit: contain; background: #f5f5f4; }
@media print { body { margin: 0; max-width: none; } li, table { break-inside: avoid; } }
</style>
</head>
<body>
<h1>{{ found.port }}: agreement on {{ "{:,}".format(found.images) }} images</h1>
<p><span class="chip {{ found.verdict }}">{{ found.verdict }}</span> against {{ found.oracle }}, output
<code>{{ found.output }}</code>, {{ found.weights }} weights</p>
{% for note in found.notes %}<p class="muted">{{ note }}</p>{% endfor %}
<main>
<table>
<thead><tr><th scope="col">runner</th><th scope="col">verdict</th><th scope="col">first class</th>
<th scope="col">rate of flips below</th><th scope="col">leading five</th><th scope="col" class="n">p50</th>
<th scope="col" class="n">p90</th><th scope="col" class="n">p99</th><th scope="col" class="n">p99.9</th>
<th scope="col" class="n">max</th>{% if found.accuracy is not none %}<th scope="col" class="n">accuracy</th>{% endif %}
</tr></thead>
<tbody>
{% for runner in found.runners %}
<tr><th scope="row">{{ runner.title }}</th><td><span class="chip {{ runner.verdict }}">{{ runner.verdict }}</span></td>
<td>{{ agreeing(runner.top1) }}</td><td>{{ rate(runner.top1.high) }}</td><td>{{ agreeing(runner.top5) }}</td>
{% for value in runner.ratios.values() %}<td class="n">{{ number(value) }}</td>{% endfor %}
{% if runner.accuracy is not none %}<td class="n">{{ "%.2f" | format(100 * runner.accuracy) }}%</td>{% endif %}</tr>
{% endfor %}
</tbody>
</table>
<p class="muted">Ratios are errors of an image's scores in noise floors, measured on the first
{{ found.measured }} images; more than {{ multiple }} is a divergence. A tie is a change of class within
{{ "%.1f" | format(found.tie) }} floors. The rate holds with 95% confidence (Clopper-Pearson)
if the images were drawn at random.
{% if found.accuracy is not none %}The oracle itself has {{ "%.2f" | format(100 * found.accuracy) }}% of
{{ "{:,}".format(found.labelled) }} labels right.{% endif %}</p>
{% for runner in found.runners %}
{% for title, images in (("flips", runner.flips), ("farthest out", runner.worst)) if images %}
<h2>{{ runner.title }}: {{ title }}</h2>
<ul class="seen">
{% for looked in images %}
<li>{% if thumbnails[looked.number] %}<img alt="" src="{{ thumbnails[looked.number] }}">{% endif %}
{{ looked.name }}<br>{{ number(looked.ratio) }} floors{% if looked.expected != looked.found %};
class {{ looked.found }}, not {{ looked.expected }} by
{{ number(looked.margin) }} floors{% else %}; class {{ looked.found }}{% endif %}</li>
{% endfor %}
</ul>
{% endfor %}
{% endfor %}
{% if found.unreadable %}<h2>Unreadable ({{ found.unreadable_count }})</h2>
<ul>{% for one in found.unreadable %}<li>{{ one.name }}: {{ one.reason }}</li>{% endfor %}</ul>{% endif %}
<h2>Made with</h2>
<p>{% for name, version in found.environment.versions.items() %}{{ name }} {{ version }}, {% endfor %}
{{ found.environment.processor }}; batch {{ found.environment.batch }}, {{ found.environment.threads }} threads a
runner; images {{ found.fingerprint[:16] }}</p>
</main>
</body>
</html>
"""


def page(found: Agreement, images: Iterable[DataImage]) -> str:
    """Return the page.

    Args:
        found: the agreement.
        images: of the data set, in its order; those worth a look are read again.
    """
    wanted = {looked.number for runner in found.runners for looked in (*runner.worst, *runner.flips)}
    thumbnails = {number: thumbnail(picture) for number, picture in enumerate(images) if number in wanted}
    return str(page_environment().from_string(_PAGE).render(
        found=found, thumbnails=thumbnails, number=number, rate=rate, agreeing=agreeing,
        multiple=f"{FLOOR_MULTIPLE:.0f}",
    ))  # fmt: skip


def thumbnail(picture: DataImage) -> str:
    """Return a small picture as a data URI, "" where the image cannot be read any more."""
    from PIL import Image

    try:
        photograph = decode_photograph(io.BytesIO(read_bytes(picture)), picture.name)
    except PortproofError:
        return ""
    small = Image.fromarray(photograph)
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
