from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_ephemeral_ns.rules.ci import SYSTEMS
from pytest_ephemeral_ns.rules.identity import GitFacts, Identity, detect, identity_from

HEAD = "a" * 40  # what the author pushed
MERGE = "b" * 40  # what the CI system made of it
GIT = GitFacts(directory="checkout", branch="git-branch", commit="c" * 40, remote="git@example.com:acme/from-git.git")
PULL = {"pull_request": {"number": 12, "head": {"sha": HEAD, "ref": "feature/x"}}}

Case = tuple[str, dict[str, str], dict[str, str]]

GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/shop",
    "GITHUB_RUN_ID": "99",
    "GITHUB_RUN_NUMBER": "7",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_ACTOR": "ada",
    "GITHUB_HEAD_REF": "",
}
GITHUB_SAYS = {
    "ci": "github",
    "ci_run": "99",
    "ci_attempt": "2",
    "actor": "ada",
    "repository": "acme/shop",
    "project": "shop",
    "job_url": "https://github.com/acme/shop/actions/runs/99",
}
GITHUB_PULL = {"GITHUB_REF": "refs/pull/12/merge", "GITHUB_REF_NAME": "12/merge", "GITHUB_SHA": MERGE}
GITLAB = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_COMMIT_SHA": HEAD,
    "CI_PIPELINE_ID": "99",
    "CI_JOB_ID": "5",
    "CI_PROJECT_PATH": "acme/team/shop",
    "CI_JOB_URL": "https://gitlab.com/acme/shop/-/jobs/5",
    "GITLAB_USER_LOGIN": "ada",
}
WOODPECKER = {
    "CI": "woodpecker",
    "CI_REPO": "acme/shop",
    "CI_COMMIT_SHA": HEAD,
    "CI_PIPELINE_NUMBER": "99",
    "CI_STEP_NUMBER": "1",
    "CI_PIPELINE_URL": "https://ci/99",
    "CI_COMMIT_AUTHOR": "ada",
}
CIRCLE = {
    "CI": "true",
    "CIRCLECI": "true",
    "CIRCLE_SHA1": HEAD,
    "CIRCLE_WORKFLOW_ID": "w-99",
    "CIRCLE_BUILD_NUM": "5",
    "CIRCLE_PROJECT_USERNAME": "acme",
    "CIRCLE_PROJECT_REPONAME": "shop",
    "CIRCLE_BUILD_URL": "https://circleci.com/5",
    "CIRCLE_USERNAME": "ada",
}
JENKINS = {
    "JENKINS_URL": "https://jenkins/",
    "BUILD_ID": "99",
    "BUILD_NUMBER": "99",
    "BUILD_TAG": "jenkins-shop-99",
    "BUILD_URL": "https://jenkins/job/99/",
    "GIT_COMMIT": HEAD,
    "GIT_URL": "https://token@example.com/acme/shop.git",
}
BUILDKITE = {
    "BUILDKITE": "true",
    "BUILDKITE_COMMIT": HEAD,
    "BUILDKITE_BUILD_ID": "u-99",
    "BUILDKITE_RETRY_COUNT": "0",
    "BUILDKITE_BUILD_URL": "https://buildkite.com/99",
    "BUILDKITE_JOB_ID": "j",
    "BUILDKITE_REPO": "git@github.com:acme/shop.git",
    "BUILDKITE_BUILD_CREATOR": "Ada",
    "BUILDKITE_PULL_REQUEST": "false",
}
AZURE = {
    "TF_BUILD": "True",
    "BUILD_SOURCEVERSION": HEAD,
    "BUILD_BUILDID": "99",
    "SYSTEM_JOBATTEMPT": "1",
    "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/",
    "SYSTEM_TEAMPROJECT": "web",
    "BUILD_REPOSITORY_NAME": "acme/shop",
    "BUILD_REQUESTEDFOR": "Ada Lovelace",
}
BITBUCKET = {
    "CI": "true",
    "BITBUCKET_BUILD_NUMBER": "99",
    "BITBUCKET_COMMIT": HEAD,
    "BITBUCKET_PIPELINE_UUID": "{u-99}",
    "BITBUCKET_REPO_FULL_NAME": "acme/shop",
}
TRAVIS = {
    "CI": "true",
    "TRAVIS": "true",
    "TRAVIS_COMMIT": HEAD,
    "TRAVIS_BUILD_ID": "99",
    "TRAVIS_JOB_ID": "5",
    "TRAVIS_JOB_WEB_URL": "https://travis/5",
    "TRAVIS_REPO_SLUG": "acme/shop",
    "TRAVIS_PULL_REQUEST": "false",
    "TRAVIS_PULL_REQUEST_BRANCH": "",
    "TRAVIS_PULL_REQUEST_SHA": "",
    "TRAVIS_TAG": "",
}
DRONE = {
    "CI": "true",
    "DRONE": "true",
    "DRONE_COMMIT_SHA": HEAD,
    "DRONE_BUILD_NUMBER": "99",
    "DRONE_STAGE_NUMBER": "1",
    "DRONE_BUILD_LINK": "https://drone/99",
    "DRONE_REPO": "acme/shop",
    "DRONE_COMMIT_AUTHOR": "ada",
}
APPVEYOR = {
    "APPVEYOR": "True",
    "APPVEYOR_REPO_COMMIT": HEAD,
    "APPVEYOR_BUILD_ID": "99",
    "APPVEYOR_JOB_ID": "j",
    "APPVEYOR_REPO_NAME": "acme/shop",
    "APPVEYOR_REPO_BRANCH": "main",
    "APPVEYOR_URL": "https://ci.appveyor.com",
    "APPVEYOR_ACCOUNT_NAME": "acme",
    "APPVEYOR_PROJECT_SLUG": "shop",
}
CIRRUS = {
    "CIRRUS_CI": "true",
    "CIRRUS_CHANGE_IN_REPO": HEAD,
    "CIRRUS_BUILD_ID": "99",
    "CIRRUS_TASK_ID": "5",
    "CIRRUS_REPO_FULL_NAME": "acme/shop",
}
SEMAPHORE = {
    "SEMAPHORE": "true",
    "SEMAPHORE_GIT_SHA": HEAD,
    "SEMAPHORE_WORKFLOW_ID": "99",
    "SEMAPHORE_JOB_ID": "5",
    "SEMAPHORE_GIT_REPO_SLUG": "acme/shop",
    "SEMAPHORE_ORGANIZATION_URL": "https://acme.semaphoreci.com",
}
CODEBUILD = {
    "CODEBUILD_BUILD_ARN": "arn:aws:codebuild:eu:1:build/shop:99",
    "CODEBUILD_RESOLVED_SOURCE_VERSION": HEAD,
    "CODEBUILD_BUILD_ID": "shop:99",
    "CODEBUILD_BUILD_NUMBER": "99",
    "CODEBUILD_SOURCE_REPO_URL": "https://github.com/acme/shop.git",
}
PROW = {
    "CI": "true",
    "PROW_JOB_ID": "p-1",
    "BUILD_ID": "99",
    "REPO_OWNER": "acme",
    "REPO_NAME": "shop",
    "PULL_BASE_REF": "main",
    "PULL_BASE_SHA": HEAD,
}

MAIN = {"ref": "main", "branch": "main", "commit": HEAD, "pr_number": "", "tag": "", "project": "shop"}
PR = {"ref": "pr12", "branch": "feature/x", "commit": HEAD, "pr_number": "12", "tag": "", "project": "shop"}
FORK = {**PR, "branch": ""}
TAG = {"ref": "v1.0", "branch": "", "commit": HEAD, "pr_number": "", "tag": "v1.0", "project": "shop"}

CASES: list[Case] = [
    # GitHub's pull requests that need the event file are below.
    (
        "github branch",
        {**GITHUB, "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main", "GITHUB_SHA": HEAD},
        {**MAIN, **GITHUB_SAYS},
    ),
    (
        "github tag",
        {**GITHUB, "GITHUB_REF": "refs/tags/v1.0", "GITHUB_REF_NAME": "v1.0", "GITHUB_SHA": HEAD},
        {**TAG, **GITHUB_SAYS},
    ),
    (
        "github pull request without its event",
        {**GITHUB, **GITHUB_PULL, "GITHUB_HEAD_REF": "feature/x"},
        {**PR, **GITHUB_SAYS, "commit": MERGE},
    ),
    (
        "gitea branch, which also says it is GitHub",
        {
            **GITHUB,
            "GITEA_ACTIONS": "true",
            "GITHUB_SERVER_URL": "https://gitea",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_REF_NAME": "main",
            "GITHUB_SHA": HEAD,
        },
        {**MAIN, "ci": "gitea", "job_url": "https://gitea/acme/shop/actions/runs/7"},
    ),
    (
        "gitea pull request",
        {
            **GITHUB,
            "GITEA_ACTIONS": "true",
            "GITHUB_REF": "refs/pull/12/head",
            "GITHUB_HEAD_REF": "feature/x",
            "GITHUB_SHA": HEAD,
        },
        {**PR, "ci": "gitea"},
    ),
    ("gitea tag", {**GITHUB, "GITEA_ACTIONS": "true", "GITHUB_REF": "refs/tags/v1.0", "GITHUB_SHA": HEAD}, TAG),
    ("forgejo", {**GITHUB, "FORGEJO_ACTIONS": "true", "GITHUB_REF": "refs/heads/main"}, {"ci": "gitea", "ref": "main"}),
    (
        "gitlab branch",
        {**GITLAB, "CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_NAME": "main"},
        {
            **MAIN,
            "ci": "gitlab",
            "repository": "acme/team/shop",
            "ci_run": "99",
            "job_url": "https://gitlab.com/acme/shop/-/jobs/5",
            "actor": "ada",
        },
    ),
    (
        "gitlab merge request",
        {
            **GITLAB,
            "CI_MERGE_REQUEST_IID": "12",
            "CI_MERGE_REQUEST_ID": "98765",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature/x",
            "CI_COMMIT_REF_NAME": "feature/x",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "",
        },
        PR,
    ),
    (
        "gitlab merged results",
        {
            **GITLAB,
            "CI_COMMIT_SHA": MERGE,
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": HEAD,
            "CI_MERGE_REQUEST_IID": "12",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature/x",
        },
        PR,
    ),
    (
        "gitlab fork",
        {
            **GITLAB,
            "CI_PROJECT_PATH": "ada/my-shop",
            "CI_MERGE_REQUEST_PROJECT_PATH": "acme/shop",
            "CI_MERGE_REQUEST_IID": "12",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature/x",
        },
        {**PR, "repository": "acme/shop"},
    ),
    ("gitlab tag", {**GITLAB, "CI_COMMIT_TAG": "v1.0", "CI_COMMIT_REF_NAME": "v1.0"}, TAG),
    ("woodpecker branch", {**WOODPECKER, "CI_COMMIT_BRANCH": "main"}, {**MAIN, "ci": "woodpecker"}),
    (
        "woodpecker pull request: the branch is the target",
        {
            **WOODPECKER,
            "CI_COMMIT_BRANCH": "main",
            "CI_COMMIT_SOURCE_BRANCH": "feature/x",
            "CI_COMMIT_PULL_REQUEST": "12",
        },
        PR,
    ),
    ("woodpecker tag", {**WOODPECKER, "CI_COMMIT_TAG": "v1.0", "CI_COMMIT_BRANCH": ""}, TAG),
    (
        "woodpecker, which once set Drone's variables",
        {**DRONE, **WOODPECKER, "CI_COMMIT_BRANCH": "main"},
        {"ci": "woodpecker"},
    ),
    (
        "circleci branch",
        {**CIRCLE, "CIRCLE_BRANCH": "main"},
        {**MAIN, "ci": "circleci", "ci_run": "w-99", "repository": "acme/shop"},
    ),
    (
        "circleci pull request",
        {**CIRCLE, "CIRCLE_BRANCH": "feature/x", "CIRCLE_PULL_REQUEST": "https://github.com/acme/shop/pull/12"},
        PR,
    ),
    (
        "circleci several pull requests",
        {
            **CIRCLE,
            "CIRCLE_BRANCH": "feature/x",
            "CIRCLE_PULL_REQUESTS": "https://github.com/acme/shop/pull/12,https://github.com/acme/shop/pull/13",
        },
        PR,
    ),
    ("circleci fork", {**CIRCLE, "CIRCLE_BRANCH": "pull/12", "CIRCLE_PR_NUMBER": "12"}, FORK),
    ("circleci tag", {**CIRCLE, "CIRCLE_TAG": "v1.0"}, TAG),
    (
        "jenkins multibranch",
        {**JENKINS, "BRANCH_NAME": "main", "GIT_BRANCH": "origin/main"},
        {**MAIN, "ci": "jenkins", "repository": "acme/shop", "ci_run": "jenkins-shop-99"},
    ),
    ("jenkins plain job", {**JENKINS, "GIT_BRANCH": "origin/main"}, MAIN),
    (
        "jenkins multibranch pull request",
        {**JENKINS, "BRANCH_NAME": "PR-12", "CHANGE_ID": "12", "CHANGE_BRANCH": "feature/x", "CHANGE_AUTHOR": "ada"},
        {**PR, "actor": "ada"},
    ),
    (
        "jenkins multibranch pull request without its branch",
        {**JENKINS, "BRANCH_NAME": "PR-12", "CHANGE_ID": "12"},
        FORK,
    ),
    (
        "jenkins pull request builder",
        {
            **JENKINS,
            "GIT_COMMIT": MERGE,
            "ghprbPullId": "12",
            "ghprbSourceBranch": "feature/x",
            "ghprbActualCommit": HEAD,
            "GIT_BRANCH": "detached",
        },
        PR,
    ),
    (
        "jenkins gitlab plugin",
        {**JENKINS, "gitlabMergeRequestIid": "12", "gitlabSourceBranch": "feature/x"},
        PR,
    ),
    ("jenkins tag", {**JENKINS, "TAG_NAME": "v1.0", "BRANCH_NAME": "v1.0"}, TAG),
    (
        "buildkite branch",
        {**BUILDKITE, "BUILDKITE_BRANCH": "main", "BUILDKITE_TAG": ""},
        {**MAIN, "ci": "buildkite", "job_url": "https://buildkite.com/99#j"},
    ),
    ("buildkite pull request", {**BUILDKITE, "BUILDKITE_BRANCH": "feature/x", "BUILDKITE_PULL_REQUEST": "12"}, PR),
    (
        "buildkite fork, whose branch has its owner",
        {**BUILDKITE, "BUILDKITE_BRANCH": "ada:feature/x", "BUILDKITE_PULL_REQUEST": "12"},
        {**PR, "branch": "ada:feature/x"},
    ),
    ("buildkite tag", {**BUILDKITE, "BUILDKITE_BRANCH": "v1.0", "BUILDKITE_TAG": "v1.0"}, TAG),
    (
        "buildkite build by hand",
        {**BUILDKITE, "BUILDKITE_BRANCH": "main", "BUILDKITE_COMMIT": "HEAD"},
        {**MAIN, "commit": GIT.commit},
    ),
    (
        "azure branch",
        {**AZURE, "BUILD_SOURCEBRANCH": "refs/heads/main"},
        {
            **MAIN,
            "ci": "azure",
            "actor": "Ada Lovelace",
            "job_url": "https://dev.azure.com/acme/web/_build/results?buildId=99",
        },
    ),
    (
        "azure, repository on GitHub",
        {
            **AZURE,
            "BUILD_SOURCEBRANCH": "refs/pull/12/merge",
            "BUILD_SOURCEVERSION": MERGE,
            "SYSTEM_PULLREQUEST_SOURCECOMMITID": HEAD,
            "SYSTEM_PULLREQUEST_SOURCEBRANCH": "feature/x",
            "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER": "12",
            "SYSTEM_PULLREQUEST_PULLREQUESTID": "555555",
        },
        PR,
    ),
    (
        "azure repos",
        {
            **AZURE,
            "BUILD_SOURCEBRANCH": "refs/pull/12/merge",
            "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/feature/x",
            "SYSTEM_PULLREQUEST_PULLREQUESTID": "12",
        },
        PR,
    ),
    ("azure tag", {**AZURE, "BUILD_SOURCEBRANCH": "refs/tags/v1.0"}, TAG),
    (
        "bitbucket branch",
        {**BITBUCKET, "BITBUCKET_BRANCH": "main"},
        {**MAIN, "ci": "bitbucket", "job_url": "https://bitbucket.org/acme/shop/pipelines/results/99"},
    ),
    (
        "bitbucket pull request",
        {
            **BITBUCKET,
            "BITBUCKET_BRANCH": "feature/x",
            "BITBUCKET_PR_ID": "12",
            "BITBUCKET_PR_DESTINATION_BRANCH": "main",
        },
        PR,
    ),
    ("bitbucket tag", {**BITBUCKET, "BITBUCKET_TAG": "v1.0"}, TAG),
    ("travis branch", {**TRAVIS, "TRAVIS_BRANCH": "main"}, {**MAIN, "ci": "travis", "job_url": "https://travis/5"}),
    (
        "travis pull request: the branch is the target",
        {
            **TRAVIS,
            "TRAVIS_BRANCH": "main",
            "TRAVIS_COMMIT": MERGE,
            "TRAVIS_PULL_REQUEST": "12",
            "TRAVIS_PULL_REQUEST_BRANCH": "feature/x",
            "TRAVIS_PULL_REQUEST_SHA": HEAD,
        },
        PR,
    ),
    ("travis tag", {**TRAVIS, "TRAVIS_BRANCH": "v1.0", "TRAVIS_TAG": "v1.0"}, TAG),
    ("drone branch", {**DRONE, "DRONE_BRANCH": "main", "DRONE_SOURCE_BRANCH": "main"}, {**MAIN, "ci": "drone"}),
    (
        "drone pull request: the branch is the target",
        {**DRONE, "DRONE_BRANCH": "main", "DRONE_SOURCE_BRANCH": "feature/x", "DRONE_PULL_REQUEST": "12"},
        PR,
    ),
    ("drone tag", {**DRONE, "DRONE_TAG": "v1.0"}, TAG),
    (
        "appveyor branch",
        APPVEYOR,
        {**MAIN, "ci": "appveyor", "job_url": "https://ci.appveyor.com/project/acme/shop/builds/99"},
    ),
    (
        "appveyor pull request: the branch is the target",
        {
            **APPVEYOR,
            "APPVEYOR_REPO_COMMIT": MERGE,
            "APPVEYOR_PULL_REQUEST_NUMBER": "12",
            "APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH": "feature/x",
            "APPVEYOR_PULL_REQUEST_HEAD_COMMIT": HEAD,
        },
        PR,
    ),
    ("appveyor tag", {**APPVEYOR, "APPVEYOR_REPO_TAG_NAME": "v1.0", "APPVEYOR_REPO_BRANCH": "v1.0"}, TAG),
    ("cirrus branch", {**CIRRUS, "CIRRUS_BRANCH": "main"}, {**MAIN, "ci": "cirrus"}),
    ("cirrus pull request", {**CIRRUS, "CIRRUS_BRANCH": "feature/x", "CIRRUS_PR": "12"}, PR),
    ("cirrus fork", {**CIRRUS, "CIRRUS_BRANCH": "pull/12", "CIRRUS_PR": "12"}, FORK),
    ("cirrus tag", {**CIRRUS, "CIRRUS_TAG": "v1.0"}, TAG),
    ("semaphore branch", {**SEMAPHORE, "SEMAPHORE_GIT_BRANCH": "main"}, {**MAIN, "ci": "semaphore"}),
    (
        "semaphore pull request",
        {
            **SEMAPHORE,
            "SEMAPHORE_GIT_SHA": MERGE,
            "SEMAPHORE_GIT_BRANCH": "main",
            "SEMAPHORE_GIT_PR_BRANCH": "feature/x",
            "SEMAPHORE_GIT_PR_SHA": HEAD,
            "SEMAPHORE_GIT_PR_NUMBER": "12",
        },
        PR,
    ),
    ("semaphore classic", {**SEMAPHORE, "SEMAPHORE_GIT_BRANCH": "feature/x", "PULL_REQUEST_NUMBER": "12"}, PR),
    ("semaphore tag", {**SEMAPHORE, "SEMAPHORE_GIT_TAG_NAME": "v1.0"}, TAG),
    (
        "codebuild branch",
        {
            **CODEBUILD,
            "CODEBUILD_WEBHOOK_TRIGGER": "branch/main",
            "CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/main",
            "CODEBUILD_SOURCE_VERSION": HEAD,
        },
        {**MAIN, "ci": "codebuild", "repository": "acme/shop"},
    ),
    (
        "codebuild pull request",
        {
            **CODEBUILD,
            "CODEBUILD_WEBHOOK_TRIGGER": "pr/12",
            "CODEBUILD_SOURCE_VERSION": "pr/12",
            "CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/feature/x",
        },
        PR,
    ),
    ("codebuild tag", {**CODEBUILD, "CODEBUILD_WEBHOOK_TRIGGER": "tag/v1.0"}, TAG),
    ("prow branch", PROW, {**MAIN, "ci": "prow", "ci_run": "99"}),
    (
        "prow pull request",
        {
            **PROW,
            "PULL_BASE_SHA": MERGE,
            "PULL_NUMBER": "12",
            "PULL_PULL_SHA": HEAD,
            "PULL_HEAD_REF": "feature/x",
        },
        PR,
    ),
]


def says(identity: Identity, expected: Mapping[str, str]) -> dict[str, str]:
    return {name: getattr(identity, name) for name in expected}


@pytest.mark.parametrize(("environ", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_ci_system(environ: dict[str, str], expected: dict[str, str]) -> None:
    assert says(identity_from(environ, GIT, "root"), expected) == expected


@pytest.mark.parametrize(
    ("environ", "event", "expected"),
    [
        pytest.param(
            {**GITHUB, **GITHUB_PULL, "GITHUB_HEAD_REF": "feature/x"}, PULL, {**PR, **GITHUB_SAYS}, id="the head commit"
        ),
        pytest.param(
            {**GITHUB, "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main", "GITHUB_SHA": MERGE},
            PULL,
            PR,
            id="pull_request_target of a fork: only the event knows",
        ),
        pytest.param(
            {**GITHUB, "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main", "GITHUB_SHA": HEAD},
            {"pull_request": None, "number": True},
            MAIN,
            id="an event without a pull request",
        ),
    ],
)
def test_github_with_its_event(environ: dict[str, str], event: dict[str, Any], expected: dict[str, str]) -> None:
    assert says(identity_from(environ, GIT, "root", event=event), expected) == expected


TEAMCITY = {"TEAMCITY_VERSION": "2026.1", "BUILD_NUMBER": "5", "BUILD_VCS_NUMBER": HEAD}
TEAMCITY_FILE = {
    "teamcity.build.id": "99",
    "teamcity.serverUrl": "https://teamcity",
    "vcsroot.url": "https://example.com/acme/shop.git",
    "teamcity.build.triggeredBy.username": "ada",
}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"teamcity.build.branch": "main"}, {**MAIN, "ci": "teamcity", "ci_run": "99", "actor": "ada"}),
        ({"teamcity.build.branch": "refs/heads/main"}, MAIN),
        ({"teamcity.build.branch": "pull/12", "teamcity.pullRequest.number": "12"}, FORK),
        (
            {
                "teamcity.build.branch": "12",
                "teamcity.pullRequest.number": "12",
                "teamcity.pullRequest.source.branch": "feature/x",
            },
            PR,
        ),
        ({"teamcity.build.branch": "refs/tags/v1.0"}, TAG),
        ({"teamcity.build.branch": "<default>"}, {"ref": "git-branch", "branch": "git-branch", "commit": HEAD}),
    ],
)
def test_teamcity_with_its_properties(properties: dict[str, str], expected: dict[str, str]) -> None:
    identity = identity_from(TEAMCITY, GIT, "root", properties={**TEAMCITY_FILE, **properties})
    assert says(identity, expected) == expected


def test_teamcity_without_its_properties_asks_git() -> None:
    expected = {"ci": "teamcity", "ref": "git-branch", "commit": HEAD, "ci_run": "5", "project": "from-git"}
    assert says(identity_from(TEAMCITY, GIT, "root"), expected) == expected


def test_every_system_has_cases() -> None:
    tested = {identity_from(environ, GIT, "root").ci for _, environ, _ in CASES} | {"teamcity"}
    assert {system.name for system in SYSTEMS} == tested


@pytest.mark.parametrize("value", ["false", "False", "", " "])
def test_false_and_nothing_mean_absent(value: str) -> None:
    assert detect({"GITHUB_ACTIONS": value, "GITLAB_CI": value, "TRAVIS": value}) is None
    assert identity_from({"CI": value}, GIT, "ada").ci == "local"


@pytest.mark.parametrize(
    ("git", "user", "expected"),
    [
        (
            GIT,
            "ada",
            {"project": "from-git", "ref": "git-branch", "branch": "git-branch", "commit": "c" * 40, "actor": "ada"},
        ),
        (GitFacts("shop", "main", "c" * 40), "ada", {"project": "shop", "ref": "main", "repository": ""}),
        (GitFacts("shop", "", "c" * 40), "ada", {"project": "shop", "ref": "ada", "commit": "c" * 40}),
        (GitFacts("shop"), "ada", {"project": "shop", "ref": "ada", "ci": "local", "commit": ""}),
        (GitFacts(), "", {"project": "project", "ref": "nobody"}),
        (GitFacts("x", remote="/srv/git/shop.git"), "ada", {"project": "shop", "repository": "shop"}),
        (GitFacts("x", remote="https://ada:secret@example.com/acme/shop"), "ada", {"repository": "acme/shop"}),
        (GitFacts("x", remote="ssh://git@example.com:22/acme/shop.git"), "ada", {"repository": "acme/shop"}),
    ],
)
def test_outside_ci_git_and_the_user_say_it(git: GitFacts, user: str, expected: dict[str, str]) -> None:
    assert says(identity_from({}, git, user), expected) == expected


def test_a_ci_system_that_nobody_knows_is_said_to_be_one() -> None:
    expected = {"ci": "unknown", "ref": "git-branch"}
    assert says(identity_from({"CI": "true"}, GIT, "ada"), expected) == expected
