"""The report in a real browser."""

import re
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from unshuffle import Pile, Records, read_pile, read_records, solve
from unshuffle.blocks.mlp import as_mlp
from unshuffle.pieces.pile import Piece
from unshuffle.views.report import report_page

EXAMPLE = Path(__file__).parents[3] / "examples" / "dropped"

in_each_form = pytest.mark.parametrize(
    ("dark", "device"), [(False, "desk"), (True, "desk"), (False, "phone"), (True, "phone")]
)


@pytest.fixture(scope="module")
def solution():
    return solve(read_pile(EXAMPLE / "pieces"), read_records(EXAMPLE / "record.csv"))


@pytest.fixture(scope="module")
def page(solution, tmp_path_factory):
    return write(solution, tmp_path_factory.mktemp("report"))


def write(solution, folder):
    path = folder / "report.html"
    path.write_text(report_page(solution), encoding="utf-8")
    return path


def text(browser, name):
    return browser.find_element(By.ID, name).text


def wait(browser, condition):
    return WebDriverWait(browser, 30).until(lambda _: condition())


def hover(browser, solution, row, column, *, click=False):
    """Point at a pair of the score matrix, by its places in the network."""
    canvas = browser.find_element(By.ID, "scores")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    cell = canvas.size["width"] / len(solution.blocks)
    x, y = ((k + 0.5) * cell - canvas.size["width"] / 2 for k in (column, row))
    pointer = ActionChains(browser).move_to_element_with_offset(canvas, round(x), round(y))
    (pointer.click() if click else pointer).perform()


def name_of(solution, row, column):
    return f"inp {solution.permutation[2 * row]} with out {solution.permutation[2 * column + 1]}"


def score_of(solution, row, column):
    inps, outs = rows_and_columns(solution)
    inp, out = solution.permutation[2 * row], solution.permutation[2 * column + 1]
    return solution.pairing.scores[inps.index(inp), outs.index(out)]


def rows_and_columns(solution):
    """Ids of the layers that the score matrix is about, in its own sequence."""
    ids, anatomy = solution.trace.ids, solution.pairing.anatomy
    return [ids[position] for position in anatomy.inp], [ids[position] for position in anatomy.out]


def marks(browser, name="accent"):
    """Where marks of a colour are, as shares of the drawing from its lower left corner."""
    return np.array(
        browser.execute_script(
            """
            const {width, height} = document.getElementById("order");
            const copy = new OffscreenCanvas(width, height);
            const context = copy.getContext("2d", {willReadFrequently: true});
            context.drawImage(document.getElementById("order"), 0, 0);
            const {data} = context.getImageData(0, 0, width, height);
            const [r, g, b] = parts(arguments[0]);
            const found = [];
            for (let k = 0; k < width * height; k++) {
                const far = Math.abs(data[4 * k] - r) + Math.abs(data[4 * k + 1] - g) +
                    Math.abs(data[4 * k + 2] - b);
                if (far < 8 && data[4 * k + 3] > 250) {
                    found.push([k % width, height - Math.floor(k / width)]);
                }
            }
            return found;
            """,
            name,
        )
    )


def off_the_line(pixels):
    """How far the marks stray from the diagonal of what they span."""
    shares = (pixels - pixels.min(axis=0)) / np.ptp(pixels, axis=0)
    return float(np.abs(shares[:, 0] - shares[:, 1]).max())


@in_each_form
def test_it_shows_the_verdict_and_the_network(visit, page, solution, dark, device):
    with visit(page, dark=dark, device=device) as browser:
        assert browser.title == "unshuffle: exact, 14 blocks"
        assert text(browser, "outcome") == "exact"
        permutation = browser.find_element(By.ID, "permutation")
        assert permutation.get_attribute("value") == solution.answer
        assert solution.sha256 in text(browser, "facts")
        tiles = browser.find_elements(By.CSS_SELECTOR, "#chain button")
        ids = [[int(n) for n in re.findall(r"(?:inp|out)\s*(\d+)", tile.text)] for tile in tiles]
        assert [name for pair in ids for name in pair] == list(solution.permutation[:-1])
        assert len(browser.find_elements(By.CSS_SELECTOR, "#chain button.decided")) == 14
        assert "decides all of it" in text(browser, "certificate")
        root = browser.find_element(By.TAG_NAME, "html")
        width = root.get_property("scrollWidth")
        assert width == root.get_property("clientWidth") <= (390 if device == "phone" else 1280)
        shade = browser.execute_script("return parts('page').reduce((a, b) => a + b)")
        assert (shade < 3 * 64) == dark
        for canvas in browser.find_elements(By.CSS_SELECTOR, "canvas[role], .plot"):
            label = canvas.get_attribute("aria-label") or canvas.get_attribute("aria-labelledby")
            assert label


@in_each_form
def test_the_replay_plays_to_the_final_order(visit, page, solution, dark, device):
    with visit(page, dark=dark, device=device) as browser:
        browser.find_element(By.ID, "first").click()
        assert text(browser, "standing") != solution.answer
        assert "Order 1 of" in text(browser, "replay-status")
        assert off_the_line(marks(browser)) > 1.5 / 14
        play = browser.find_element(By.ID, "play")
        play.click()
        assert play.text == "Pause"
        wait(browser, lambda: play.text == "Play")
        assert text(browser, "standing") == solution.answer
        assert "14 of 14 blocks placed, 14 in their final place" in text(browser, "replay-status")
        assert off_the_line(marks(browser)) < 1 / 14
        assert not len(marks(browser, "doubt"))


def test_the_replay_steps_slides_and_pauses(visit, page, solution):
    stood = [solution.trace.names(step.arrangement) for step in solution.trace.steps]
    answers = [
        ",".join(str(name) for block in blocks for name in block) + f",{solution.last}"
        for blocks, _ in groupby(stood)
    ]
    assert answers[-1] == solution.answer
    with visit(page) as browser:
        browser.find_element(By.ID, "first").click()
        for answer in answers[:3]:
            assert text(browser, "standing") == answer
            browser.find_element(By.ID, "forward").click()
        browser.find_element(By.ID, "back").click()
        assert text(browser, "standing") == answers[2]
        slider = browser.find_element(By.ID, "frame")
        slider.send_keys(Keys.END)
        assert text(browser, "standing") == answers[-1]
        slider.send_keys(Keys.ARROW_LEFT)
        assert text(browser, "standing") == answers[-2]
        assert f"Order {len(answers) - 1} of" in slider.get_attribute("aria-valuetext")
        browser.find_element(By.ID, "first").click()
        play = browser.find_element(By.ID, "play")
        play.send_keys(Keys.SPACE)
        play.send_keys(Keys.SPACE)
        assert play.text == "Play"
        assert text(browser, "standing") != solution.answer


@in_each_form
def test_the_score_matrix_answers_to_the_pointer(visit, page, solution, dark, device):
    with visit(page, dark=dark, device=device) as browser:
        for row, column in ((2, 7), (11, 0), (5, 5)):
            hover(browser, solution, row, column)
            said = text(browser, "pair-detail")
            assert said.startswith(name_of(solution, row, column) + ": score ")
            score = float(re.search(r"score ([−\d.]+)\.", said)[1].replace("−", "-"))
            assert score == pytest.approx(score_of(solution, row, column), rel=6e-3)
            margin = solution.margins[
                solution.permutation[2 * row], solution.permutation[2 * row + 1]
            ]
            stated = float(re.search(r"margin ([\d.]+)\d*[.;,]", said)[1])
            assert stated == pytest.approx(margin, rel=6e-3)
            assert ("Matched, block 6;" in said) == (row == column)
        before = text(browser, "products")
        hover(browser, solution, 2, 7, click=True)
        assert text(browser, "products") != before
        matched, chosen = browser.find_elements(By.CSS_SELECTOR, "#products figcaption")
        assert matched.text.startswith(f"Matched. {name_of(solution, 2, 2)}: score")
        assert chosen.text.startswith(f"Chosen. {name_of(solution, 2, 7)}: score")
        for side, column in ((matched, 2), (chosen, 7)):
            layers = as_mlp(solution.network).layers()
            trace = np.trace(layers[2 * column + 1].weight @ layers[4].weight)
            stated = float(re.search(r"trace ([−\d.]+)", side.text)[1].replace("−", "-"))
            assert stated == pytest.approx(trace, abs=0.05)


def test_the_score_matrix_answers_to_the_keyboard(visit, page, solution):
    with visit(page) as browser:
        canvas = browser.find_element(By.ID, "scores")
        # It opens on the weakest pair: from the first row on all is counted.
        canvas.send_keys(*[Keys.ARROW_UP] * 14, Keys.HOME)
        canvas.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
        assert text(browser, "pair-detail").startswith(name_of(solution, 1, 2))
        canvas.send_keys(Keys.END, Keys.PAGE_DOWN, Keys.ARROW_UP)
        assert text(browser, "pair-detail").startswith(name_of(solution, 10, 13))
        canvas.send_keys(Keys.ENTER)
        assert f"Chosen. {name_of(solution, 10, 13)}" in text(browser, "products")
        canvas.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.SPACE)
        assert f"Matched. {name_of(solution, 10, 10)}" in text(browser, "products")
        assert "Best rival." in text(browser, "products")
        chosen = browser.find_element(By.CSS_SELECTOR, "#chain button[aria-pressed=true]")
        assert chosen.get_attribute("aria-label").startswith("Block 11:")


def test_before_matching_rows_and_columns_are_those_of_the_pile(visit, page, solution):
    inps, outs = rows_and_columns(solution)
    with visit(page) as browser:
        browser.find_element(By.CSS_SELECTOR, "input[value=pile]").click()
        hover(browser, solution, 3, 9)
        expected = f"inp {inps[3]} with out {outs[9]}: score"
        assert text(browser, "pair-detail").startswith(expected)


def test_the_brightest_pairs_lie_on_the_diagonal_after_matching(visit, page):
    with visit(page) as browser:
        diagonal = browser.execute_script(
            """
            const map = document.getElementById("scores-map");
            const pixels = map.getContext("2d").getImageData(0, 0, map.width, map.height).data;
            const light = (x, y) => {
                const at = 4 * (Math.floor((y + 0.5) * map.height / 14) * map.width +
                    Math.floor((x + 0.5) * map.width / 14));
                return pixels[at] + pixels[at + 1] + pixels[at + 2];
            };
            const places = [...Array(14).keys()];
            return places.map((y) =>
                places.reduce((best, x) => light(x, y) > light(best, y) ? x : best));
            """
        )
        assert diagonal == list(range(14))


@pytest.mark.parametrize("device", ["desk", "phone"])
def test_a_module_shows_each_of_its_edges(visit, solved_module, tmp_path, device):
    solution = solved_module
    with visit(write(solution, tmp_path), device=device) as browser:
        tiles = browser.find_elements(By.CSS_SELECTOR, "#chain button")
        shown = [[line.text for line in tile.find_elements(By.CLASS_NAME, "id")] for tile in tiles]
        numbers = [[int(re.search(r"\d+$", line)[0]) for line in tile] for tile in shown]
        assert numbers == [list(block) for block in solution.blocks]
        assert shown[0][1].startswith("norm")
        chooser = browser.find_element(By.ID, "edge")
        options = chooser.find_elements(By.TAG_NAME, "option")
        assert len(options) == len(solution.evidence)
        for option, edge in zip(options, solution.evidence, strict=True):
            option.click()
            browser.find_element(By.ID, "scores").send_keys(Keys.HOME, *[Keys.ARROW_UP] * 4)
            said = text(browser, "pair-detail")
            names = option.text.split(" with ")
            match = edge.matches[0]
            assert said.startswith(f"{names[0]} {match.inp} with {names[1]} {match.out}: score")
        assert browser.find_element(By.ID, "path").is_displayed()
        assert "other blocks" in text(browser, "products-note")
        tiles[2].click()
        assert text(browser, "block-detail").startswith("Block 3: ")
        assert tiles[2].get_attribute("aria-pressed") == "true"
        browser.find_element(By.ID, "final").click()
        assert text(browser, "standing") == solution.answer
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= browser.execute_script("return window.innerWidth")


def test_products_are_those_of_the_weights(visit, page, solution):
    layers = as_mlp(solution.network).layers()
    with visit(page) as browser:
        found = browser.execute_async_script(
            """
            const done = arguments[0];
            readContent().then((content) => {
                const [{chain}] = content.edges;
                const [{row}, {column}] = [chain[3], chain[8]];
                done(Array.from(productOf(content, {row, column})));
            });
            """
        )
    product = layers[17].weight @ layers[6].weight
    error = np.reshape(found, product.shape) - product
    assert np.sqrt(np.mean(error**2)) < 0.02 * np.sqrt(np.mean(product**2))


def test_an_error_of_nothing_is_drawn_at_the_bottom(visit, page):
    with visit(page) as browser:
        found = browser.execute_script(
            """
            const {zero, range: [bottom, top]} = decades([[0, 0.05, null], [2, Infinity]]);
            return [zero, bottom, top, ...drawable([0, null, NaN, 2], bottom)];
            """
        )
    assert found == [True, pytest.approx(1e-3), 10, pytest.approx(1e-3), None, None, 2]


@pytest.mark.parametrize("dark", [False, True])
def test_the_larger_an_entry_of_a_product_the_darker_it_is(visit, page, dark):
    with visit(page, dark=dark) as browser:
        values, shades = browser.execute_async_script(
            """
            const done = arguments[0];
            readContent().then((content) => {
                const {row, column} = content.edges[0].chain[weakestPlace(content)];
                const canvas = document.querySelector("#products canvas");
                const {width, height} = canvas;
                const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
                const shades = Array.from(data).filter((_, k) => k % 4 < 3);
                done([Array.from(productOf(content, {row, column})), shades]);
            });
            """
        )
    sizes, light = np.abs(values), np.reshape(shades, (-1, 3)).sum(axis=1)
    assert light[sizes < 0.001].min() > 0.95 * 3 * 255  # white at zero
    signs, steps = np.sign(values), np.quantile(sizes, [0.05, 0.5, 0.9, 0.995])
    for sign in (-1, 1):
        means = [light[(signs == sign) & (abs(sizes - step) < 0.01)].mean() for step in steps]
        assert (np.diff(means) < 0).all()


def test_the_chosen_block_is_in_sight_where_the_chain_is_long(visit, page, solution):
    with visit(page, device="phone") as browser:
        browser.execute_script("document.getElementById('chain').style.maxHeight = '80px'")
        for place in (12, 1):
            hover(browser, solution, place, place, click=True)
            tile = browser.find_element(By.CSS_SELECTOR, "#chain button[aria-pressed=true]")
            assert tile.text.startswith(str(place + 1))
            box, seen = tile.rect, browser.find_element(By.ID, "chain").rect
            assert seen["y"] <= box["y"]
            assert box["y"] + box["height"] <= seen["y"] + 80


def test_a_block_of_the_chain_shows_its_certificate_and_its_product(visit, page, solution):
    with visit(page) as browser:
        tiles = browser.find_elements(By.CSS_SELECTOR, "#chain button")
        tiles[6].send_keys(Keys.ENTER)
        said = text(browser, "block-detail")
        assert said.startswith(f"Block 7: {name_of(solution, 6, 6)}.")
        assert "Exchanged with block 8: error" in said
        assert f"Matched. {name_of(solution, 6, 6)}" in text(browser, "products")
        assert tiles[6].get_attribute("aria-pressed") == "true"
        assert tiles[0].get_attribute("aria-pressed") == "false"


def test_the_answer_is_copied(visit, page, solution):
    with visit(page) as browser:
        browser.find_element(By.ID, "copy").click()
        wait(browser, lambda: text(browser, "copied") == "Copied")
        field = browser.find_element(By.ID, "permutation")
        browser.execute_script(
            "arguments[0].readOnly = false; arguments[0].value = ''; arguments[0].focus();", field
        )
        field.send_keys(Keys.CONTROL, "v")
        assert field.get_attribute("value") == solution.answer


def test_the_button_changes_between_light_and_dark(visit, page):
    with visit(page, dark=True) as browser:
        dark = browser.execute_script("return parts('page')")
        button = browser.find_element(By.ID, "theme")
        assert button.text == "Light"
        button.send_keys(Keys.ENTER)
        light = browser.execute_script("return parts('page')")
        assert sum(light) > sum(dark) + 300
        assert button.text == "Dark"


def test_names_with_markup_are_text(visit, dropped, tmp_path):
    case = dropped(blocks=2, width=16, hidden=24)
    names = ["<img src=x onerror=document.title='no'>", "</script><script>document.title='no'"]
    names += ["<b>bold</b>", "&lt;", "ü"]
    pile = Pile(
        Piece.linear(name, piece.weight, piece.bias)
        for name, piece in zip(names, case.pile, strict=True)
    )
    solution = solve(pile, case.records)
    with visit(write(solution, tmp_path)) as browser:
        browser.find_element(By.CSS_SELECTOR, "#chain button").click()
        hover(browser, solution, 0, 1, click=True)
        assert browser.title == "unshuffle: exact, 2 blocks"
        assert not browser.find_elements(By.CSS_SELECTOR, "img, b")
        permutation = browser.find_element(By.ID, "permutation")
        assert permutation.get_attribute("value") == solution.answer
        shown = browser.find_element(By.ID, "chain").get_attribute("textContent")
        assert all(name in shown for name in names)
        detail = browser.find_element(By.ID, "pair-detail").get_attribute("textContent")
        assert detail.startswith(name_of(solution, 0, 1))


def test_what_the_record_leaves_open_is_shown(visit, solution, tmp_path):
    certificate = solution.certificate
    neighbours = [replace(c, log_odds=0.0, rows_needed=4321) for c in certificate.neighbours[:2]]
    neighbours += certificate.neighbours[2:]
    pairs = [*certificate.pairs[:-1], replace(certificate.pairs[-1], log_odds=0.0)]
    doubtful = replace(certificate, neighbours=tuple(neighbours), pairs=tuple(pairs))
    path = write(replace(solution, certificate=doubtful), tmp_path)
    with visit(path, device="phone") as browser:
        said = text(browser, "certificate")
        assert "1 run of blocks (places 1 to 3)" in said
        assert "1 pair." in said
        assert "4,321 rows" in said
        assert len(browser.find_elements(By.CSS_SELECTOR, "#chain .link.open")) == 2
        assert len(browser.find_elements(By.CSS_SELECTOR, "#chain button.open")) == 1
        browser.find_element(By.CSS_SELECTOR, "#chain button").click()
        assert "50.0 % sure" in text(browser, "block-detail")


def test_what_may_fit_by_chance_is_not_called_decided(visit, solution, tmp_path):
    lucky = replace(solution.certificate, chance=2.0)
    with visit(write(replace(solution, certificate=lucky), tmp_path)) as browser:
        said = text(browser, "certificate")
        assert "decides all of it" not in said
        assert "by chance" in said


def test_a_result_without_proof_or_errors_is_shown_as_such(visit, dropped, tmp_path):
    case = dropped(blocks=4, width=16, hidden=16)
    nothing = Records(case.records.inputs, np.empty((len(case.records), 0), np.float32))
    solution = solve(case.pile, nothing)
    with visit(write(solution, tmp_path), dark=True, device="phone") as browser:
        assert text(browser, "outcome") == "estimate"
        assert "There is no certificate" in text(browser, "certificate")
        assert "There are no errors to draw." in text(browser, "search")
        assert "unknown" in text(browser, "facts")


def test_pairs_too_small_for_a_phone_are_enlarged(visit, dropped, tmp_path):
    case = dropped(blocks=44, width=8, hidden=12)
    solution = solve(case.pile, case.records, time_limit=5)
    with visit(write(solution, tmp_path), device="phone") as browser:
        assert browser.find_element(By.ID, "lens").is_displayed()
        assert not browser.find_element(By.ID, "failure").is_displayed()


def test_a_search_that_builds_its_order_is_replayed(visit, dropped, tmp_path):
    case = dropped(blocks=5, width=16, hidden=24)
    solution = solve(case.pile, case.records, strategy="classic", signal="fused")
    with visit(write(solution, tmp_path)) as browser:
        browser.find_element(By.ID, "first").click()
        assert "1 of 5 blocks placed" in text(browser, "replay-status")
        assert "greedy insertion" in text(browser, "replay-status")
        browser.find_element(By.ID, "final").click()
        assert text(browser, "standing") == solution.answer


@pytest.mark.parametrize(
    "shape", [{"blocks": 1, "hidden": 24}, {"blocks": 3, "hidden": 16, "outputs": 16}]
)
def test_networks_of_unusual_shapes_are_shown(visit, dropped, tmp_path, shape):
    """One block; and layers that are all of one shape, where any piece may be the last."""
    case = dropped(width=16, **shape)
    solution = solve(case.pile, case.records)
    with visit(write(solution, tmp_path)) as browser:
        canvas = browser.find_element(By.ID, "scores")
        inps, _ = rows_and_columns(solution)
        for _ in inps:
            canvas.send_keys(Keys.ENTER, Keys.ARROW_DOWN)
        assert re.match(r"inp \d+ with out \d+: score", text(browser, "pair-detail"))
        shown = browser.find_element(By.ID, "permutation").get_attribute("value")
        assert shown == text(browser, "standing") == solution.answer
        if solution.last in inps:
            canvas.send_keys(Keys.HOME)
            assert f"{solution.last} is the last layer" in text(browser, "pair-detail")


def test_it_opens_on_the_weakest_pair_and_names_its_best_rival(page, solution, visit):
    weakest = min(solution.pairing.matches, key=lambda match: match.margin)
    place = solution.blocks.index((weakest.inp, weakest.out))
    outs = [out for _, out in solution.blocks]
    inp, out = (
        (weakest.inp, weakest.rival) if weakest.rival in outs else (weakest.rival, weakest.out)
    )
    with visit(page) as browser:
        assert text(browser, "block-detail").startswith(f"Block {place + 1}:")
        assert f"best rival, {weakest.rival}," in text(browser, "block-detail")
        assert text(browser, "pair-detail").startswith(name_of(solution, place, place))
        assert f"Best rival. inp {inp} with out {out}:" in text(browser, "products")
        assert not browser.find_element(By.ID, "norms-figure").is_displayed()


@in_each_form
def test_with_the_record_it_is_shown_and_norms_are_drawn(
    solution, tmp_path, visit, *, dark, device
):
    path = tmp_path / "with.html"
    record = read_records(EXAMPLE / "record.csv")
    path.write_text(report_page(solution, record), encoding="utf-8")
    with visit(path, dark=dark, device=device) as browser:
        assert "record.csv: 3,000 rows of 48 inputs, each with 1 prediction, with targets" in text(
            browser, "facts"
        )
        assert str(EXAMPLE) not in browser.page_source
        plot = browser.find_element(By.ID, "norms-plot")
        assert plot.is_displayed()
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= browser.execute_script("return window.innerWidth")
