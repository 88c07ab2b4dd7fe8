from tf_einsum_grad.text.pages import Html, element, html_table


def test_text_is_escaped_and_html_is_not():
    assert element("p", "a<b & 'c'", Html("<br>")) == "<p>a&lt;b &amp; &#x27;c&#x27;<br></p>"


def test_attributes_are_escaped_and_none_is_left_out():
    assert element("td", class_="mean", title="it's <b>", style=None) == (
        "<td class='mean' title='it&#x27;s &lt;b&gt;'></td>"
    )


def test_elements_stand_in_elements():
    assert element("tr", element("td", "<")) == "<tr><td>&lt;</td></tr>"


def test_a_table():
    table = html_table(("x", "<y>"), [("1", Html("<b>2</b>")), element("tr", "3", class_="mean")])
    assert table == (
        "<table><tr><th>x</th><th>&lt;y&gt;</th></tr><tr><td>1</td><td><b>2</b></td></tr>"
        "<tr class='mean'>3</tr></table>"
    )


def test_a_table_in_sections():
    assert html_table(("x",), [("1",)], sections=True, class_="names") == (
        "<table class='names'><thead><tr><th>x</th></tr></thead>"
        "<tbody><tr><td>1</td></tr></tbody></table>"
    )
