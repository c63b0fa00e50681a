"""Which variables of which CI system say what; a table and nothing else: this module must never interpret a value.

Names and precedence follow the vendors' own documentation; env-ci (``services/*.js``) and ci-info (``vendors.json``)
were read for the cross-check.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """One CI system.

    Every field but ``name`` and ``detect`` is a list of places to look at; the first that says something counts.
    A place is a variable (``"CI_COMMIT_SHA"``), a key of the event file (``"event.pull_request.number"``), a key of
    a properties file (``"properties.teamcity.build.branch"``) or a text with such names in braces, which counts
    when all of them say something.

    Args:
        name: what :attr:`Identity.ci` says.
        detect: all of these must be there; ``"CI=woodpecker"`` asks for that value.
        branch: the branch that is tested; of a pull request its source.
        tag: the tag that is tested.
        commit: the commit that the author pushed; not the merge commit of a pull request where that can be told.
        pr: the number, a ref or a URL that ends with the number of the pull or merge request.
        run: what every job of one run shares.
        attempt: which try it is, or which job when tries have numbers of their own.
        actor: who started it.
        repository: ``owner/name`` or a URL.
        url: where people see it.
    """

    name: str
    detect: tuple[str, ...]
    branch: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    commit: tuple[str, ...] = ()
    pr: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    attempt: tuple[str, ...] = ()
    actor: tuple[str, ...] = ()
    repository: tuple[str, ...] = ()
    url: tuple[str, ...] = ()


def _actions(name: str, detect: str, run: str) -> System:
    """GitHub's variables, which Gitea and Forgejo set too; only the run's URL differs."""
    return System(
        name=name,
        detect=(detect,),
        branch=("GITHUB_HEAD_REF", "event.pull_request.head.ref", "GITHUB_REF_NAME", "GITHUB_REF"),
        tag=("GITHUB_REF",),
        # GITHUB_SHA is the merge commit in a pull request.
        commit=("event.pull_request.head.sha", "GITHUB_SHA"),
        # The event is the only source for pull_request_target, where GITHUB_REF is the target branch.
        pr=("GITHUB_REF", "event.pull_request.number"),
        run=("GITHUB_RUN_ID",),
        attempt=("GITHUB_RUN_ATTEMPT",),
        actor=("GITHUB_ACTOR",),
        repository=("GITHUB_REPOSITORY",),
        url=(f"{{GITHUB_SERVER_URL}}/{{GITHUB_REPOSITORY}}/actions/runs/{{{run}}}",),
    )


SYSTEMS: tuple[System, ...] = (
    # Order counts: Gitea and Forgejo set GITHUB_ACTIONS, Woodpecker once set Drone's variables.
    _actions("gitea", "GITEA_ACTIONS", "GITHUB_RUN_NUMBER"),
    _actions("gitea", "FORGEJO_ACTIONS", "GITHUB_RUN_NUMBER"),
    _actions("github", "GITHUB_ACTIONS", "GITHUB_RUN_ID"),
    System(
        name="gitlab",
        detect=("GITLAB_CI",),
        branch=("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME"),
        tag=("CI_COMMIT_TAG",),
        # In pipelines for merged results CI_COMMIT_SHA is the merge commit.
        commit=("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA"),
        # Not CI_MERGE_REQUEST_ID, which counts over the whole server.
        pr=("CI_MERGE_REQUEST_IID",),
        run=("CI_PIPELINE_ID",),
        attempt=("CI_JOB_ID",),
        actor=("GITLAB_USER_LOGIN",),
        # In a fork's pipeline CI_PROJECT_PATH is the fork; the number belongs to the target project.
        repository=("CI_MERGE_REQUEST_PROJECT_PATH", "CI_PROJECT_PATH"),
        url=("CI_JOB_URL", "CI_PIPELINE_URL"),
    ),
    System(
        name="woodpecker",
        detect=("CI=woodpecker",),
        branch=("CI_COMMIT_SOURCE_BRANCH", "CI_COMMIT_BRANCH"),
        tag=("CI_COMMIT_TAG",),
        commit=("CI_COMMIT_SHA",),
        pr=("CI_COMMIT_PULL_REQUEST",),
        run=("CI_PIPELINE_NUMBER",),
        attempt=("CI_STEP_NUMBER",),
        actor=("CI_COMMIT_AUTHOR",),
        repository=("CI_REPO",),
        url=("CI_PIPELINE_URL",),
    ),
    System(
        name="circleci",
        detect=("CIRCLECI",),
        branch=("CIRCLE_BRANCH",),
        tag=("CIRCLE_TAG",),
        commit=("CIRCLE_SHA1",),
        # CIRCLE_PR_NUMBER is set for forks only.
        pr=("CIRCLE_PR_NUMBER", "CIRCLE_PULL_REQUEST", "CIRCLE_PULL_REQUESTS"),
        run=("CIRCLE_WORKFLOW_ID", "CIRCLE_BUILD_NUM"),
        attempt=("CIRCLE_BUILD_NUM",),
        actor=("CIRCLE_USERNAME", "CIRCLE_PR_USERNAME"),
        repository=("{CIRCLE_PROJECT_USERNAME}/{CIRCLE_PROJECT_REPONAME}", "CIRCLE_PROJECT_REPONAME"),
        url=("CIRCLE_BUILD_URL",),
    ),
    System(
        name="jenkins",
        detect=("JENKINS_URL", "BUILD_ID"),
        # BRANCH_NAME is "PR-12" in a pull request.
        branch=("CHANGE_BRANCH", "ghprbSourceBranch", "gitlabSourceBranch", "BRANCH_NAME", "GIT_BRANCH"),
        tag=("TAG_NAME",),
        commit=("ghprbActualCommit", "GIT_COMMIT"),
        pr=("CHANGE_ID", "ghprbPullId", "gitlabMergeRequestIid"),
        run=("BUILD_TAG", "BUILD_NUMBER"),
        attempt=("BUILD_NUMBER",),
        actor=("CHANGE_AUTHOR", "ghprbPullAuthorLogin", "gitlabUserUsername", "BUILD_USER_ID"),
        repository=("GIT_URL", "ghprbGhRepository"),
        url=("BUILD_URL",),
    ),
    System(
        name="buildkite",
        detect=("BUILDKITE",),
        branch=("BUILDKITE_BRANCH",),
        tag=("BUILDKITE_TAG",),
        commit=("BUILDKITE_COMMIT",),
        pr=("BUILDKITE_PULL_REQUEST",),
        run=("BUILDKITE_BUILD_ID",),
        attempt=("BUILDKITE_RETRY_COUNT",),
        actor=("BUILDKITE_BUILD_CREATOR", "BUILDKITE_BUILD_AUTHOR"),
        repository=("BUILDKITE_REPO", "BUILDKITE_PIPELINE_SLUG"),
        url=("{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}", "BUILDKITE_BUILD_URL"),
    ),
    System(
        name="azure",
        detect=("TF_BUILD",),
        branch=("SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"),
        tag=("BUILD_SOURCEBRANCH",),
        # BUILD_SOURCEVERSION is the merge commit in a pull request.
        commit=("SYSTEM_PULLREQUEST_SOURCECOMMITID", "BUILD_SOURCEVERSION"),
        # The first is GitHub's number, the second that of Azure Repos (for GitHub: an internal one).
        pr=("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "SYSTEM_PULLREQUEST_PULLREQUESTID"),
        run=("BUILD_BUILDID",),
        attempt=("SYSTEM_JOBATTEMPT",),
        actor=("BUILD_REQUESTEDFOR",),
        repository=("BUILD_REPOSITORY_NAME",),
        url=("{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",),
    ),
    System(
        name="bitbucket",
        detect=("BITBUCKET_BUILD_NUMBER",),
        branch=("BITBUCKET_BRANCH",),
        tag=("BITBUCKET_TAG",),
        commit=("BITBUCKET_COMMIT",),
        pr=("BITBUCKET_PR_ID",),
        run=("BITBUCKET_PIPELINE_UUID", "BITBUCKET_BUILD_NUMBER"),
        attempt=("BITBUCKET_STEP_RUN_NUMBER",),
        actor=("BITBUCKET_STEP_TRIGGERER_UUID",),
        repository=("BITBUCKET_REPO_FULL_NAME",),
        url=("https://bitbucket.org/{BITBUCKET_REPO_FULL_NAME}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",),
    ),
    System(
        name="travis",
        detect=("TRAVIS",),
        # TRAVIS_BRANCH is the target in a pull request.
        branch=("TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"),
        tag=("TRAVIS_TAG",),
        commit=("TRAVIS_PULL_REQUEST_SHA", "TRAVIS_COMMIT"),
        pr=("TRAVIS_PULL_REQUEST",),
        run=("TRAVIS_BUILD_ID",),
        attempt=("TRAVIS_JOB_ID",),
        repository=("TRAVIS_REPO_SLUG",),
        url=("TRAVIS_JOB_WEB_URL", "TRAVIS_BUILD_WEB_URL"),
    ),
    System(
        name="drone",
        detect=("DRONE",),
        # DRONE_BRANCH is the target in a pull request.
        branch=("DRONE_SOURCE_BRANCH", "DRONE_BRANCH"),
        tag=("DRONE_TAG",),
        commit=("DRONE_COMMIT_SHA",),
        pr=("DRONE_PULL_REQUEST",),
        run=("DRONE_BUILD_NUMBER",),
        attempt=("DRONE_STAGE_NUMBER",),
        actor=("DRONE_COMMIT_AUTHOR",),
        repository=("DRONE_REPO",),
        url=("DRONE_BUILD_LINK",),
    ),
    System(
        name="teamcity",
        detect=("TEAMCITY_VERSION",),
        branch=("properties.teamcity.pullRequest.source.branch", "properties.teamcity.build.branch"),
        tag=("properties.teamcity.build.branch",),
        commit=("BUILD_VCS_NUMBER", "properties.build.vcs.number"),
        pr=("properties.teamcity.pullRequest.number",),
        run=("properties.teamcity.build.id", "BUILD_NUMBER"),
        attempt=("BUILD_NUMBER",),
        actor=("properties.teamcity.build.triggeredBy.username",),
        repository=("properties.vcsroot.url", "TEAMCITY_PROJECT_NAME"),
        url=("BUILD_URL", "{properties.teamcity.serverUrl}/viewLog.html?buildId={properties.teamcity.build.id}"),
    ),
    System(
        name="appveyor",
        detect=("APPVEYOR",),
        # APPVEYOR_REPO_BRANCH is the target in a pull request.
        branch=("APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH", "APPVEYOR_REPO_BRANCH"),
        tag=("APPVEYOR_REPO_TAG_NAME",),
        commit=("APPVEYOR_PULL_REQUEST_HEAD_COMMIT", "APPVEYOR_REPO_COMMIT"),
        pr=("APPVEYOR_PULL_REQUEST_NUMBER",),
        run=("APPVEYOR_BUILD_ID",),
        attempt=("APPVEYOR_JOB_ID",),
        actor=("APPVEYOR_REPO_COMMIT_AUTHOR",),
        repository=("APPVEYOR_REPO_NAME",),
        url=("{APPVEYOR_URL}/project/{APPVEYOR_ACCOUNT_NAME}/{APPVEYOR_PROJECT_SLUG}/builds/{APPVEYOR_BUILD_ID}",),
    ),
    System(
        name="cirrus",
        detect=("CIRRUS_CI",),
        # CIRRUS_BRANCH is "pull/12" in a pull request of a fork.
        branch=("CIRRUS_BRANCH",),
        tag=("CIRRUS_TAG",),
        commit=("CIRRUS_CHANGE_IN_REPO",),
        pr=("CIRRUS_PR",),
        run=("CIRRUS_BUILD_ID",),
        attempt=("CIRRUS_TASK_ID",),
        repository=("CIRRUS_REPO_FULL_NAME",),
        url=("https://cirrus-ci.com/task/{CIRRUS_TASK_ID}",),
    ),
    System(
        name="semaphore",
        detect=("SEMAPHORE",),
        branch=("SEMAPHORE_GIT_PR_BRANCH", "SEMAPHORE_GIT_WORKING_BRANCH", "SEMAPHORE_GIT_BRANCH"),
        tag=("SEMAPHORE_GIT_TAG_NAME",),
        commit=("SEMAPHORE_GIT_PR_SHA", "SEMAPHORE_GIT_SHA"),
        pr=("SEMAPHORE_GIT_PR_NUMBER", "PULL_REQUEST_NUMBER"),
        run=("SEMAPHORE_WORKFLOW_ID",),
        attempt=("SEMAPHORE_JOB_ID",),
        actor=("SEMAPHORE_GIT_COMMIT_AUTHOR",),
        repository=("SEMAPHORE_GIT_REPO_SLUG", "SEMAPHORE_PROJECT_NAME"),
        url=("{SEMAPHORE_ORGANIZATION_URL}/workflows/{SEMAPHORE_WORKFLOW_ID}",),
    ),
    System(
        name="codebuild",
        detect=("CODEBUILD_BUILD_ARN",),
        branch=("CODEBUILD_WEBHOOK_HEAD_REF", "CODEBUILD_WEBHOOK_TRIGGER"),
        tag=("CODEBUILD_WEBHOOK_TRIGGER", "CODEBUILD_WEBHOOK_HEAD_REF"),
        commit=("CODEBUILD_RESOLVED_SOURCE_VERSION",),
        pr=("CODEBUILD_WEBHOOK_TRIGGER", "CODEBUILD_SOURCE_VERSION"),
        run=("CODEBUILD_BUILD_ID",),
        attempt=("CODEBUILD_BUILD_NUMBER",),
        repository=("CODEBUILD_SOURCE_REPO_URL",),
        url=("CODEBUILD_PUBLIC_BUILD_URL", "CODEBUILD_BUILD_URL"),
    ),
    System(
        name="prow",
        detect=("PROW_JOB_ID",),
        branch=("PULL_HEAD_REF", "PULL_BASE_REF"),
        commit=("PULL_PULL_SHA", "PULL_BASE_SHA"),
        pr=("PULL_NUMBER",),
        run=("BUILD_ID",),
        attempt=("PROW_JOB_ID",),
        repository=("{REPO_OWNER}/{REPO_NAME}",),
    ),
)
"""Every CI system that is known, in the order in which they are tried."""
