from workbench.evaluation.other_data.class_matching import describe_match, match_classes


def test_names_are_matched_whatever_their_case_and_separators_are():
    match = match_classes(["bird of paradise", "daisy", "Käfer"], ["Bird_of-Paradise", "DAISY", "Ka\u0308fer", "tulip"])
    assert match.labels.tolist() == [0, 1, 2, -1]
    assert match.renamed == [
        ("Bird_of-Paradise", "bird of paradise"),
        ("DAISY", "daisy"),
        ("Ka\u0308fer", "Käfer"),
    ]
    assert (match.only_in_run, match.only_in_data) == ([], ["tulip"])


def test_equal_names_come_first_and_ambiguous_ones_belong_to_none():
    match = match_classes(["a b", "a_b", "c"], ["a_b", "A B", "c"])
    assert match.labels.tolist() == [1, -1, 2]
    assert (match.only_in_run, match.only_in_data) == (["a b"], ["A B"])


def test_two_spellings_of_the_data_are_one_class():
    assert match_classes(["red rose", "iris"], ["red_rose", "Red Rose"]).labels.tolist() == [0, 0]


def test_differences_are_named_in_two_lines():
    match = match_classes(["a", "b", "c", "d", "e f"], ["E_F", "x"])
    assert describe_match(match) == [
        "classes that are spelled differently are matched: 'E_F' as 'e f'",
        "classes only in the run: 'a', 'b', 'c' and 1 more; only in the data: 'x', whose images do not count for the "
        "accuracy",
    ]
    assert describe_match(match_classes(["a"], ["a"])) == []
