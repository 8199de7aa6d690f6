"""The page of the jobs in a real browser: a file becomes a job, and its rows are downloaded."""

from __future__ import annotations

from pathlib import Path

from support.browser import browser_here, visited
from support.jobs_server import jobs_server, numbered


def test_a_file_becomes_a_job_whose_rows_are_downloaded_and_nothing_runs_that_a_request_says(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>.jsonl"
    with jobs_server(tmp_path) as server, browser_here() as browser:
        (server.inputs / evil).write_bytes(b"{}\n")
        server.submit("counts", {"path": evil})
        url = f"http://127.0.0.1:{server.served.port}/jobs"
        with visited(browser, url) as visit:
            visit.page.set_input_files("#file", {"name": "a.jsonl", "mimeType": "text/plain", "buffer": numbered(60_000)})
            visit.page.click("#submit")
            visit.wait(
                "document.querySelectorAll('#rows tr').length === 2 && document.querySelectorAll('#rows .ok').length === 2"
            )
            assert visit.page.locator("#rows tr").nth(0).inner_text().split("\t")[3].strip() == "60,000 records"
            assert evil in visit.page.locator("#rows tr").nth(1).inner_text()
            assert visit.faults_of_accessibility() == []
            visit.page.set_viewport_size({"width": 390, "height": 844})
            assert visit.overflow_px() <= 0
            assert visit.page.locator("#rows tr").nth(0).evaluate("row => row.scrollWidth <= row.closest('section').clientWidth")
            with visit.page.expect_download() as download:
                visit.page.locator("#rows tr").nth(0).get_by_text("Download").click()
            assert Path(download.value.path()).read_bytes().startswith(b'{"category":"c0","count":20000,')
            visit.page.once("dialog", lambda dialog: dialog.accept())
            visit.page.locator("#rows tr").nth(1).get_by_text("Delete").click()
            visit.wait("document.querySelectorAll('#rows tr').length === 1")
            assert visit.complaints == []
            assert all(each.startswith((f"http://127.0.0.1:{server.served.port}/", "data:")) for each in visit.urls)
