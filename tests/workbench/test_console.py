from workbench.console import console


def test_names_with_brackets_are_shown_as_they_are(capsys):
    console.print("a photo of daisy [bold]red[/x] in runs/[1]")
    assert capsys.readouterr().out == "a photo of daisy [bold]red[/x] in runs/[1]\n"
